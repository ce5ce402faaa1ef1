# What the variables refuse.
mock_provider "aws" {
  mock_data "aws_ec2_instance_type" {
    defaults = { default_vcpus = 4 }
  }
}

variables {
  region         = "eu-central-1"
  ami_id         = "ami-0123456789abcdef0"
  budget_USD     = 100
  budget_e_mails = ["someone@example.org"]
  stewards       = ["arn:aws:iam::000000000000:user/steward"]
}

run "machine_without_gpu" {
  command = plan
  variables {
    instance_type = "t3.large"
  }
  expect_failures = [var.instance_type]
}

run "public_range" {
  command = plan
  variables {
    vpc_cidr = "8.8.0.0/16"
  }
  expect_failures = [var.vpc_cidr]
}

run "no_image" {
  command = plan
  variables {
    ami_id = "latest"
  }
  expect_failures = [var.ami_id]
}

run "everyone_a_steward" {
  command = plan
  variables {
    stewards = ["*"]
  }
  expect_failures = [var.stewards]
}

run "whole_account_a_steward" {
  command = plan
  variables {
    stewards = ["arn:aws:iam::000000000000:root"]
  }
  expect_failures = [var.stewards]
}

run "nobody_told_of_cost" {
  command = plan
  variables {
    budget_e_mails = []
  }
  expect_failures = [var.budget_e_mails]
}

run "no_budget" {
  command = plan
  variables {
    budget_USD = 0
  }
  expect_failures = [var.budget_USD]
}

run "never_idle" {
  command = plan
  variables {
    idle_minutes = 3
  }
  expect_failures = [var.idle_minutes]
}

run "trail_of_a_day" {
  command = plan
  variables {
    log_days = 1
  }
  expect_failures = [var.log_days]
}

run "kept_for_ever" {
  command = plan
  variables {
    retention_days = 4000
  }
  expect_failures = [var.retention_days]
}

run "name_of_a_bucket" {
  command = plan
  variables {
    name = "Not A Bucket"
  }
  expect_failures = [var.name]
}

run "region" {
  command = plan
  variables {
    region = "Frankfurt"
  }
  expect_failures = [var.region]
}

run "small_disk" {
  command = plan
  variables {
    volume_GiB = 8
  }
  expect_failures = [var.volume_GiB]
}

run "a_role_has_no_second_factor" {
  command = plan
  variables {
    stewards = ["arn:aws:iam::000000000000:role/stewards"]
  }
  expect_failures = [var.stewards]
}

run "an_alarm_looks_back_a_day_at_most" {
  command = plan
  variables {
    idle_minutes = 725
  }
  expect_failures = [var.idle_minutes]
}

run "a_public_range" {
  command = plan
  variables {
    vpc_cidr = "172.200.0.0/16"
  }
  expect_failures = [var.vpc_cidr]
}
