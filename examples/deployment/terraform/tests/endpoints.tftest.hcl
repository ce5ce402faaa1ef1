# What can leave the network.
mock_provider "aws" {
  mock_data "aws_ec2_instance_type" {
    defaults = { default_vcpus = 4 }
  }
}

variables {
  name               = "t1djax"
  account_id         = "000000000000"
  partition          = "aws"
  dns_suffix         = "amazonaws.com"
  region             = "eu-central-1"
  zone               = "a"
  ami_id             = "ami-0123456789abcdef0"
  instance_type      = "g6.xlarge"
  spot               = true
  volume_GiB         = 200
  idle_minutes       = 30
  vpc_cidr           = "10.42.0.0/20"
  data_bucket_arn    = "arn:aws:s3:::data"
  results_bucket_arn = "arn:aws:s3:::results"
  repository_arn     = "arn:aws:ecr:eu-central-1:000000000000:repository/t1djax/train"
  kms_key_arn        = "arn:aws:kms:eu-central-1:000000000000:key/00000000-0000-0000-0000-000000000000"
  instance_profile   = "t1djax-machine"
  flow_role_arn      = "arn:aws:iam::000000000000:role/t1djax-flow"
  flow_group_arn     = "arn:aws:logs:eu-central-1:000000000000:log-group:/t1djax/flow"
}

run "buckets" {
  command = plan
  module {
    source = "./modules/ec2"
  }

  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && alltrue([for s in jsondecode(aws_vpc_endpoint.s3.policy).Statement : s.Effect == "Allow"])
    error_message = "What is not allowed is denied."
  }
  assert {
    condition = toset(flatten([for s in jsondecode(aws_vpc_endpoint.s3.policy).Statement : s.Resource])) == toset([
    "arn:aws:s3:::data", "arn:aws:s3:::results", "arn:aws:s3:::data/*", "arn:aws:s3:::results/*", "arn:aws:s3:::prod-eu-central-1-starport-layer-bucket/*"])
    error_message = "Buckets of this deployment, and the one with the layers of images."
  }
  assert {
    condition     = toset(flatten([for s in jsondecode(aws_vpc_endpoint.s3.policy).Statement : s.Action])) == toset(["s3:ListBucket", "s3:GetObject", "s3:PutObject"])
    error_message = "No other action."
  }
  assert {
    condition     = [for s in jsondecode(aws_vpc_endpoint.s3.policy).Statement : s.Resource if contains(flatten([s.Action]), "s3:PutObject")] == ["arn:aws:s3:::results/*"]
    error_message = "Only results are written."
  }
  assert {
    condition = [for s in jsondecode(aws_vpc_endpoint.s3.policy).Statement : s.Sid
      if try(s.Condition.StringEquals["aws:PrincipalAccount"], "") != var.account_id || try(s.Condition.StringEquals["aws:ResourceAccount"], "") != var.account_id
    ] == ["Layers"]
    error_message = "With keys and buckets of this account; layers are fetched with keys of ECR."
  }
}

run "services" {
  command = plan
  module {
    source = "./modules/ec2"
  }

  assert {
    condition     = toset(keys(aws_vpc_endpoint.service)) == toset(["ssm", "ssmmessages", "ecr.api", "ecr.dkr"])
    error_message = "No service that the machine does not call."
  }
  assert {
    condition = alltrue(flatten([for e in aws_vpc_endpoint.service : [for s in jsondecode(e.policy).Statement :
    s.Effect == "Allow" && s.Condition.StringEquals["aws:PrincipalAccount"] == var.account_id]]))
    error_message = "With keys of this account only."
  }
  assert {
    condition = toset(flatten([for e in aws_vpc_endpoint.service : [for s in jsondecode(e.policy).Statement : s.Action]])) == toset([
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
    "ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"])
    error_message = "A session, and images: pulled, not pushed."
  }
  assert {
    condition = alltrue(flatten([for k in ["ecr.api", "ecr.dkr"] : [for s in jsondecode(aws_vpc_endpoint.service[k].policy).Statement :
    s.Resource == (s.Action == "ecr:GetAuthorizationToken" ? "*" : var.repository_arn)]]))
    error_message = "From this repository only."
  }
}

run "names" {
  command = plan
  module {
    source = "./modules/ec2"
  }

  assert {
    condition     = aws_route53_resolver_firewall_rule.block.action == "BLOCK" && aws_route53_resolver_firewall_domain_list.this["block"].domains == toset(["*."])
    error_message = "No stranger's name is asked for."
  }
  assert {
    condition     = aws_route53_resolver_firewall_rule.allow.priority < aws_route53_resolver_firewall_rule.block.priority
    error_message = "Names of AWS come first."
  }
  assert {
    condition     = alltrue([for d in aws_route53_resolver_firewall_domain_list.this["allow"].domains : endswith(d, ".amazonaws.com.") || endswith(d, ".internal.")])
    error_message = "Names of AWS only."
  }
}
