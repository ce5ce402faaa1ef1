# Three buckets: patients' data, results, and the logs of both. Versioned, encrypted, closed to the public, TLS only.

terraform {
  required_version = ">= 1.10"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

locals {
  purposes = toset(["data", "results", "logs"])
  root     = "arn:${var.partition}:iam::${var.account_id}:root"
  trail    = "arn:${var.partition}:cloudtrail:${var.region}:${var.account_id}:trail/${var.name}"
  spot = {
    "kms:CallerAccount" = var.account_id
    "aws:PrincipalArn"  = "arn:${var.partition}:iam::${var.account_id}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
  }
  arns = { for purpose in local.purposes : purpose => aws_s3_bucket.this[purpose].arn }
  # Who says nothing of encryption gets the bucket's key, which is this one; a negated comparison alone would deny them.
  only_this_key = {
    Null            = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "false" }
    StringNotEquals = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = aws_kms_key.this.arn }
  }
  # Who asks for encryption without a key would get one of AWS, not the bucket's.
  no_other_kind = {
    Null = {
      "s3:x-amz-server-side-encryption"                = "false"
      "s3:x-amz-server-side-encryption-aws-kms-key-id" = "true"
    }
  }

  # What a bucket's policy says besides.
  own = {
    logs = [
      {
        Sid       = "TrailLooks"
        Effect    = "Allow"
        Principal = { Service = "cloudtrail.amazonaws.com" }
        Action    = "s3:GetBucketAcl"
        Resource  = local.arns["logs"]
        Condition = { StringEquals = { "aws:SourceArn" = local.trail } }
      },
      {
        Sid       = "TrailWrites"
        Effect    = "Allow"
        Principal = { Service = "cloudtrail.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${local.arns["logs"]}/AWSLogs/${var.account_id}/*"
        Condition = { StringEquals = { "aws:SourceArn" = local.trail, "s3:x-amz-acl" = "bucket-owner-full-control" } }
      },
      {
        Sid       = "AccessLogsOfData"
        Effect    = "Allow"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${local.arns["logs"]}/access/data/*"
        Condition = { ArnEquals = { "aws:SourceArn" = local.arns["data"] } }
      },
      {
        Sid       = "AccessLogsOfResults"
        Effect    = "Allow"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${local.arns["logs"]}/access/results/*"
        Condition = { ArnEquals = { "aws:SourceArn" = local.arns["results"] } }
      },
    ]
    data = [
      {
        Sid       = "OnlyThisKey"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = "s3:PutObject"
        Resource  = "${local.arns["data"]}/*"
        Condition = local.only_this_key
      },
      {
        Sid       = "NoKeyOfAnother"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = "s3:PutObject"
        Resource  = "${local.arns["data"]}/*"
        Condition = local.no_other_kind
      },
    ]
    results = [
      {
        Sid       = "OnlyThisKey"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = "s3:PutObject"
        Resource  = "${local.arns["results"]}/*"
        Condition = local.only_this_key
      },
      {
        Sid       = "NoKeyOfAnother"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = "s3:PutObject"
        Resource  = "${local.arns["results"]}/*"
        Condition = local.no_other_kind
      },
    ]
  }
}

resource "aws_kms_key" "this" {
  description             = "Data, results, logs, disks and images of ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = local.root }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        Resource  = "*"
        Condition = {
          ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:/${var.name}/*" }
        }
      },
      {
        Sid       = "Trail"
        Effect    = "Allow"
        Principal = { Service = "cloudtrail.amazonaws.com" }
        Action    = ["kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceArn" = local.trail } }
      },
      {
        Sid       = "AccessLogs"
        Effect    = "Allow"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Action    = ["kms:GenerateDataKey*", "kms:Decrypt"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
      },
      { # A spot machine is started again by this role, with its encrypted disk. It may not exist yet, so that it cannot be a principal.
        Sid       = "Spot"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = { StringEquals = local.spot }
      },
      {
        Sid       = "SpotDisk"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action    = "kms:CreateGrant"
        Resource  = "*"
        Condition = { StringEquals = local.spot, Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_144:patients' data stay in the region whose law they are under; versions guard against mistakes
  #checkov:skip=CKV2_AWS_62:nothing is to start by an object's arrival; CloudTrail records every one
  #checkov:skip=CKV_AWS_18:data and results are logged (tests/s3.tftest.hcl says so), the bucket of the logs is not
  for_each = local.purposes
  bucket   = "${var.name}-${each.key}-${var.account_id}"
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.purposes
  bucket   = aws_s3_bucket.this[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each                = local.purposes
  bucket                  = aws_s3_bucket.this[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.purposes
  bucket   = aws_s3_bucket.this[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.purposes
  bucket   = aws_s3_bucket.this[each.key].id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this.arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = local.purposes
  bucket   = aws_s3_bucket.this[each.key].id

  rule {
    id     = "old"
    status = "Enabled"
    filter {}

    # Data and results stay until somebody deletes them; then the marks of the deletion go with the last version, as they bear names.
    dynamic "expiration" {
      for_each = each.key == "logs" ? [] : [1]

      content {
        expired_object_delete_marker = true
      }
    }

    dynamic "expiration" {
      for_each = each.key == "logs" ? [var.log_days] : []

      content {
        days = expiration.value
      }
    }

    noncurrent_version_expiration {
      noncurrent_days = var.retention_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_logging" "this" {
  for_each      = setsubtract(local.purposes, ["logs"])
  bucket        = aws_s3_bucket.this[each.key].id
  target_bucket = aws_s3_bucket.this["logs"].id
  target_prefix = "access/${each.key}/"
  depends_on    = [aws_s3_bucket_policy.this] # which lets the logs in
}

resource "aws_s3_bucket_policy" "this" {
  for_each = local.purposes
  bucket   = aws_s3_bucket.this[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid       = "OnlyTLS"
          Effect    = "Deny"
          Principal = { AWS = "*" }
          Action    = "s3:*"
          Resource  = [local.arns[each.key], "${local.arns[each.key]}/*"]
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
        {
          Sid       = "NoOldTLS"
          Effect    = "Deny"
          Principal = { AWS = "*" }
          Action    = "s3:*"
          Resource  = [local.arns[each.key], "${local.arns[each.key]}/*"]
          Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
        },
      ],
      local.own[each.key],
    )
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}
