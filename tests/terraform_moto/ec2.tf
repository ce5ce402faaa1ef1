# It knows no detailed monitoring, gives every machine a public address, and forgets its security group and the
# descriptions of rules.
resource "aws_instance" "this" {
  monitoring = false

  lifecycle {
    ignore_changes = [associate_public_ip_address, vpc_security_group_ids]
  }
}

resource "aws_vpc_security_group_egress_rule" "to_endpoints" {
  description = null
}

resource "aws_vpc_security_group_egress_rule" "to_s3" {
  description = null
}

resource "aws_vpc_security_group_ingress_rule" "from_machine" {
  description = null
}
