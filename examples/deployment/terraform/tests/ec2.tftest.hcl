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

run "spot_machine" {
  command = plan
  module {
    source = "./modules/ec2"
  }

  assert {
    condition     = aws_instance.this.metadata_options[0].http_tokens == "required"
    error_message = "IMDSv2 only."
  }
  assert {
    condition     = aws_instance.this.root_block_device[0].encrypted && aws_instance.this.root_block_device[0].kms_key_id == var.kms_key_arn
    error_message = "The disk is encrypted with the key."
  }
  assert {
    condition     = !aws_instance.this.associate_public_ip_address && !aws_subnet.this.map_public_ip_on_launch
    error_message = "No public address."
  }
  assert {
    condition     = aws_instance.this.instance_market_options[0].spot_options[0].instance_interruption_behavior == "stop"
    error_message = "A spot machine keeps its disk."
  }
  assert {
    condition     = strcontains(base64decode(aws_instance.this.user_data_base64), ">= 30 * 60")
    error_message = "It stops itself after the minutes asked for."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.idle.alarm_actions == toset(["arn:aws:automate:eu-central-1:ec2:stop"])
    error_message = "The alarm stops the machine."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.idle.evaluation_periods == 12
    error_message = "The alarm waits an hour."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.idle.threshold == 12.5
    error_message = "One busy processor of four is work."
  }
  assert {
    condition     = aws_vpc_security_group_egress_rule.to_s3.to_port == 443 && aws_vpc_security_group_ingress_rule.from_machine.to_port == 443
    error_message = "TLS only."
  }
}

run "machine_on_demand" {
  command = plan
  module {
    source = "./modules/ec2"
  }
  variables {
    spot = false
  }

  assert {
    condition     = length(aws_instance.this.instance_market_options) == 0
    error_message = "No spot where none is asked for."
  }
}

run "one_processor_of_many_is_work" {
  command = plan
  module {
    source = "./modules/ec2"
  }
  variables {
    instance_type = "p5.48xlarge"
  }
  override_data {
    target = data.aws_ec2_instance_type.this
    values = { default_vcpus = 192 }
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.idle.threshold < 100 / 192
    error_message = "The alarm stops a machine that trains."
  }
}
