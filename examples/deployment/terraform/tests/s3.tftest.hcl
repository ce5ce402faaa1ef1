mock_provider "aws" {}

variables {
  name           = "t1djax"
  account_id     = "000000000000"
  partition      = "aws"
  region         = "eu-central-1"
  retention_days = 30
  log_days       = 731
}

run "buckets" {
  command = plan
  module {
    source = "./modules/s3"
  }

  assert {
    condition     = length(aws_s3_bucket.this) == 3
    error_message = "There are three buckets."
  }
  assert {
    condition = alltrue([for b in aws_s3_bucket_server_side_encryption_configuration.this :
    one(b.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"])
    error_message = "Every bucket is encrypted with the key."
  }
  assert {
    condition     = length(aws_s3_bucket_server_side_encryption_configuration.this) == length(aws_s3_bucket.this)
    error_message = "No bucket is without encryption."
  }
  assert {
    condition = length(aws_s3_bucket_public_access_block.this) == 3 && alltrue([for b in aws_s3_bucket_public_access_block.this :
    b.block_public_acls && b.block_public_policy && b.ignore_public_acls && b.restrict_public_buckets])
    error_message = "Every bucket is closed to the public."
  }
  assert {
    condition     = length(aws_s3_bucket_versioning.this) == 3 && alltrue([for b in aws_s3_bucket_versioning.this : b.versioning_configuration[0].status == "Enabled"])
    error_message = "Every bucket has versions."
  }
  assert {
    condition     = alltrue([for b in aws_s3_bucket_lifecycle_configuration.this : b.rule[0].noncurrent_version_expiration[0].noncurrent_days == 30])
    error_message = "Old versions go."
  }
  assert {
    condition = alltrue([for k, b in aws_s3_bucket_lifecycle_configuration.this : k == "logs"
      ? b.rule[0].expiration[0].days == 731
    : b.rule[0].expiration[0].expired_object_delete_marker])
    error_message = "Logs go after their days; data and results stay, and of what was deleted not even the mark."
  }
  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "The key rotates."
  }
  assert {
    condition     = toset(keys(aws_s3_bucket_logging.this)) == toset(["data", "results"])
    error_message = "Access to data and results is logged."
  }
}

run "tls_only" {
  command = apply
  module {
    source = "./modules/s3"
  }

  assert {
    condition = alltrue([for b in aws_s3_bucket_policy.this : anytrue([for s in jsondecode(b.policy).Statement :
    s.Effect == "Deny" && s.Action == "s3:*" && try(s.Condition.Bool["aws:SecureTransport"], "") == "false"])])
    error_message = "Nothing travels without TLS."
  }
  assert {
    condition = alltrue([for k in ["data", "results"] : anytrue([for s in jsondecode(aws_s3_bucket_policy.this[k].policy).Statement :
      s.Effect == "Deny" && s.Action == "s3:PutObject" && try(s.Condition.Null["s3:x-amz-server-side-encryption-aws-kms-key-id"], "") == "false"
    && can(s.Condition.StringNotEquals["s3:x-amz-server-side-encryption-aws-kms-key-id"])])])
    error_message = "Another key than the bucket's is denied; no key named is the bucket's."
  }
  assert {
    condition = alltrue([for k in ["data", "results"] : anytrue([for s in jsondecode(aws_s3_bucket_policy.this[k].policy).Statement :
      s.Effect == "Deny" && s.Action == "s3:PutObject" && try(s.Condition.Null["s3:x-amz-server-side-encryption"], "") == "false"
    && try(s.Condition.Null["s3:x-amz-server-side-encryption-aws-kms-key-id"], "") == "true"])])
    error_message = "Encryption asked for without a key would take one of AWS: denied."
  }
  assert {
    condition     = alltrue([for b in aws_s3_bucket_policy.this : alltrue([for s in jsondecode(b.policy).Statement : s.Effect == "Deny" || try(s.Principal.AWS, "") != "*"])])
    error_message = "Nobody is let in by a bucket's policy but services that write logs."
  }
  assert {
    condition = alltrue([for s in jsondecode(aws_kms_key.this.policy).Statement :
      s.Condition.StringEquals["kms:CallerAccount"] == var.account_id && endswith(s.Condition.StringEquals["aws:PrincipalArn"], "/AWSServiceRoleForEC2Spot")
    if try(s.Principal.AWS, "") == "*"])
    error_message = "The key is used by this account, the services that write logs, and the one that starts spot machines."
  }
}
