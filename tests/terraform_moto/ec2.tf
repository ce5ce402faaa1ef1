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

# It knows no firewall of names.
resource "aws_route53_resolver_firewall_domain_list" "this" {
  for_each = {}
}

resource "aws_route53_resolver_firewall_rule_group" "this" {
  count = 0
}

resource "aws_route53_resolver_firewall_rule" "allow" {
  count                   = 0
  firewall_domain_list_id = "none"
  firewall_rule_group_id  = "none"
}

resource "aws_route53_resolver_firewall_rule" "block" {
  count                   = 0
  firewall_domain_list_id = "none"
  firewall_rule_group_id  = "none"
}

resource "aws_route53_resolver_firewall_rule_group_association" "this" {
  count                  = 0
  firewall_rule_group_id = "none"
}
