# Four roles: the machine, the data steward, and one each for the two services that write logs.

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
  services = {
    machine = "ec2.amazonaws.com"
    trail   = "cloudtrail.amazonaws.com"
    flow    = "vpc-flow-logs.amazonaws.com"
  }
  # Keys of the machine that were carried away open nothing.
  from_here = { StringEquals = { "aws:SourceVpc" = var.vpc_id } }
  via_s3    = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }

  # What each role may do.
  policies = {
    machine = [
      { # A shell without an open port. These actions know no resource.
        Sid      = "Session"
        Effect   = "Allow"
        Action   = ["ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]
        Resource = "*"
      },
      {
        Sid       = "List"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = [var.data_bucket_arn, var.results_bucket_arn]
        Condition = local.from_here
      },
      {
        Sid       = "ReadData"
        Effect    = "Allow"
        Action    = "s3:GetObject"
        Resource  = "${var.data_bucket_arn}/*"
        Condition = local.from_here
      },
      { # Written and read; not deleted.
        Sid       = "Results"
        Effect    = "Allow"
        Action    = ["s3:GetObject", "s3:PutObject"]
        Resource  = "${var.results_bucket_arn}/*"
        Condition = local.from_here
      },
      {
        Sid       = "Key"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = var.kms_key_arn
        Condition = local.via_s3
      },
      { # This action knows no resource.
        Sid      = "RegistryLogin"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid      = "Pull"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = var.repository_arn
      },
    ]
    trail = [{
      Sid      = "Write"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${var.trail_group_arn}:log-stream:*"
    }]
    flow = [{
      Sid      = "Write"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
      Resource = "${var.flow_group_arn}:*"
      },
      { # It looks for its group by listing them.
        Sid      = "Look"
        Effect   = "Allow"
        Action   = "logs:DescribeLogGroups"
        Resource = "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:*"
    }]
    steward = [
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:ListBucketVersions"]
        Resource = [var.data_bucket_arn, var.results_bucket_arn]
      },
      { # A person's data are deleted with every version.
        Sid      = "Data"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"]
        Resource = ["${var.data_bucket_arn}/*", "${var.results_bucket_arn}/*"]
      },
      {
        Sid       = "Key"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = var.kms_key_arn
        Condition = local.via_s3
      },
    ]
  }
  trusts = merge(
    { for role, service in local.services : role => {
      Principal = { Service = service }
      # EC2 states no source when it takes the role of an instance.
      Condition = role == "machine" ? null : { StringEquals = { "aws:SourceAccount" = var.account_id } }
    } },
    { steward = {
      Principal = { AWS = var.stewards }
      Condition = { Bool = { "aws:MultiFactorAuthPresent" = "true" } }
    } },
  )
}

resource "aws_iam_role" "this" {
  for_each             = local.trusts
  name                 = "${var.name}-${each.key}"
  max_session_duration = 3600

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [merge(
      { Effect = "Allow", Action = "sts:AssumeRole", Principal = each.value.Principal },
      each.value.Condition == null ? {} : { Condition = each.value.Condition },
    )]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = local.policies
  name     = each.key
  role     = aws_iam_role.this[each.key].id
  policy   = jsonencode({ Version = "2012-10-17", Statement = each.value })
}

resource "aws_iam_instance_profile" "this" {
  name = "${var.name}-machine"
  role = aws_iam_role.this["machine"].name
}
