# The network's resolver asks the world, route to it or none, and a stranger's name server reads what it is asked for. So it answers for
# names of AWS only. Where they lead to is trusted: they are aliases of one another.

locals {
  domains = {
    allow = ["*.${var.dns_suffix}.", "*.compute.internal.", "*.ec2.internal."]
    block = ["*."]
  }
}

resource "aws_route53_resolver_firewall_domain_list" "this" {
  for_each = local.domains
  name     = "${var.name}-${each.key}"
  domains  = each.value
}

resource "aws_route53_resolver_firewall_rule_group" "this" {
  name = var.name
}

resource "aws_route53_resolver_firewall_rule" "allow" {
  name                               = "${var.name}-allow"
  action                             = "ALLOW"
  priority                           = 1
  firewall_domain_list_id            = aws_route53_resolver_firewall_domain_list.this["allow"].id
  firewall_rule_group_id             = aws_route53_resolver_firewall_rule_group.this.id
  firewall_domain_redirection_action = "TRUST_REDIRECTION_DOMAIN"
}

resource "aws_route53_resolver_firewall_rule" "block" {
  name                    = "${var.name}-block"
  action                  = "BLOCK"
  block_response          = "NXDOMAIN"
  priority                = 2
  firewall_domain_list_id = aws_route53_resolver_firewall_domain_list.this["block"].id
  firewall_rule_group_id  = aws_route53_resolver_firewall_rule_group.this.id
}

resource "aws_route53_resolver_firewall_rule_group_association" "this" {
  name                   = var.name
  firewall_rule_group_id = aws_route53_resolver_firewall_rule_group.this.id
  priority               = 101
  vpc_id                 = aws_vpc.this.id
}
