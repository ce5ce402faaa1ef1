# One machine with a GPU in a network without a way to or from the internet; a shell by Session Manager.

terraform {
  required_version = ">= 1.10"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

resource "aws_instance" "this" {
  ami                                  = var.ami_id
  instance_type                        = var.instance_type
  subnet_id                            = aws_subnet.this.id
  vpc_security_group_ids               = [aws_security_group.machine.id]
  iam_instance_profile                 = var.instance_profile
  associate_public_ip_address          = false
  ebs_optimized                        = true
  monitoring                           = true
  instance_initiated_shutdown_behavior = "stop"
  user_data_base64                     = base64encode(templatefile("${path.module}/idle.sh.tftpl", { idle_minutes = var.idle_minutes }))
  user_data_replace_on_change          = true

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = var.volume_GiB
    encrypted             = true
    kms_key_id            = var.kms_key_arn
    delete_on_termination = true
  }

  # Persistent, so that it can be stopped and started again with its disk and its checkpoints.
  dynamic "instance_market_options" {
    for_each = var.spot ? [1] : []

    content {
      market_type = "spot"

      spot_options {
        spot_instance_type             = "persistent"
        instance_interruption_behavior = "stop"
      }
    }
  }

  tags = { Name = "${var.name}-train" }
}

data "aws_ec2_instance_type" "this" {
  instance_type = var.instance_type
}

# A second net under the machine's own timer: it looks at the processors only, so it waits twice as long. A training keeps one of them
# busy, which on a large machine is less than a percent of all.
resource "aws_cloudwatch_metric_alarm" "idle" {
  alarm_name          = "${var.name}-idle"
  alarm_description   = "Stops the machine that does nothing"
  namespace           = "AWS/EC2"
  metric_name         = "CPUUtilization"
  dimensions          = { InstanceId = aws_instance.this.id }
  statistic           = "Maximum"
  comparison_operator = "LessThanThreshold"
  threshold           = 50 / data.aws_ec2_instance_type.this.default_vcpus # half of one processor, in percent of all
  period              = 300
  evaluation_periods  = 2 * var.idle_minutes / 5
  treat_missing_data  = "notBreaching"
  alarm_actions       = ["arn:${var.partition}:automate:${var.region}:ec2:stop"]
}
