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

run "whole" {
  command = plan

  assert {
    condition     = length(aws_budgets_budget.this.notification) == 2 && alltrue([for n in aws_budgets_budget.this.notification : n.subscriber_email_addresses == toset(["someone@example.org"])])
    error_message = "The budget tells somebody, before and after."
  }
  assert {
    condition     = aws_cloudtrail.this.enable_log_file_validation && aws_cloudtrail.this.is_multi_region_trail
    error_message = "The audit trail is whole and signed."
  }
  assert {
    condition     = aws_ecr_repository.train.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.train.image_scanning_configuration[0].scan_on_push
    error_message = "Images are scanned and stay as they are."
  }
}
