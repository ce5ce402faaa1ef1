mock_provider "aws" {}

variables {
  name               = "t1djax"
  account_id         = "000000000000"
  partition          = "aws"
  region             = "eu-central-1"
  stewards           = ["arn:aws:iam::000000000000:user/steward"]
  data_bucket_arn    = "arn:aws:s3:::data"
  results_bucket_arn = "arn:aws:s3:::results"
  kms_key_arn        = "arn:aws:kms:eu-central-1:000000000000:key/00000000-0000-0000-0000-000000000000"
  repository_arn     = "arn:aws:ecr:eu-central-1:000000000000:repository/t1djax/train"
  trail_group_arn    = "arn:aws:logs:eu-central-1:000000000000:log-group:/t1djax/trail"
  vpc_id             = "vpc-00000000"
  flow_group_arn     = "arn:aws:logs:eu-central-1:000000000000:log-group:/t1djax/flow"
}

run "roles" {
  command = plan
  module {
    source = "./modules/iam"
  }

  assert {
    condition = alltrue(flatten([for p in aws_iam_role_policy.this : [for s in jsondecode(p.policy).Statement :
    alltrue([for a in flatten([s.Action]) : !strcontains(a, "*")])]]))
    error_message = "No action by wildcard."
  }
  assert {
    condition = toset(flatten([for p in aws_iam_role_policy.this : [for s in jsondecode(p.policy).Statement :
    s.Resource == "*" ? [s.Sid] : []]])) == toset(["Session", "RegistryLogin"])
    error_message = "Every resource only where an action knows no other."
  }
  assert {
    condition = !anytrue(flatten([for s in jsondecode(aws_iam_role_policy.this["machine"].policy).Statement :
    [for a in flatten([s.Action]) : startswith(a, "s3:Delete")]]))
    error_message = "The machine deletes nothing."
  }
  assert {
    condition = !anytrue(flatten([for s in jsondecode(aws_iam_role_policy.this["machine"].policy).Statement :
    [for a in flatten([s.Action]) : a == "s3:PutObject" && contains(flatten([s.Resource]), "arn:aws:s3:::data/*")]]))
    error_message = "The machine does not write patients' data."
  }
  assert {
    condition = alltrue(flatten([for s in jsondecode(aws_iam_role_policy.this["machine"].policy).Statement :
    [for a in flatten([s.Action]) : s.Condition.StringEquals["aws:SourceVpc"] == var.vpc_id if startswith(a, "s3:")]]))
    error_message = "The machine's keys open no bucket from elsewhere."
  }
  assert {
    condition     = jsondecode(aws_iam_role.this["steward"].assume_role_policy).Statement[0].Condition.Bool["aws:MultiFactorAuthPresent"] == "true"
    error_message = "A steward has a second factor."
  }
}
