# Ways to the services that the machine needs. Each lets through what its role may do, on what is ours, and nothing else: whoever takes
# the machine over brings keys of an account of their own, and could otherwise put the data into a bucket, a repository or a session there.
# Nobody calls KMS from the machine; S3 does, on its own side.

locals {
  ours     = { "aws:PrincipalAccount" = var.account_id }
  policies = { for service, statements in local.allowed : service => jsonencode({ Version = "2012-10-17", Statement = statements }) }

  pull = [
    { # This action knows no resource.
      Sid       = "Login"
      Effect    = "Allow"
      Principal = "*"
      Action    = "ecr:GetAuthorizationToken"
      Resource  = "*"
      Condition = { StringEquals = local.ours }
    },
    {
      Sid       = "Pull"
      Effect    = "Allow"
      Principal = "*"
      Action    = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      Resource  = var.repository_arn
      Condition = { StringEquals = local.ours }
    },
  ]

  allowed = {
    # A name of a bucket is free for everybody once the bucket is gone, so its account is asked for, too.
    s3 = [
      {
        Sid       = "List"
        Effect    = "Allow"
        Principal = "*"
        Action    = "s3:ListBucket"
        Resource  = [var.data_bucket_arn, var.results_bucket_arn]
        Condition = { StringEquals = merge(local.ours, { "aws:ResourceAccount" = var.account_id }) }
      },
      {
        Sid       = "Read"
        Effect    = "Allow"
        Principal = "*"
        Action    = "s3:GetObject"
        Resource  = ["${var.data_bucket_arn}/*", "${var.results_bucket_arn}/*"]
        Condition = { StringEquals = merge(local.ours, { "aws:ResourceAccount" = var.account_id }) }
      },
      {
        Sid       = "Write"
        Effect    = "Allow"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${var.results_bucket_arn}/*"
        Condition = { StringEquals = merge(local.ours, { "aws:ResourceAccount" = var.account_id }) }
      },
      { # ECR keeps the layers of images in a bucket of AWS, and signs each address itself.
        Sid       = "Layers"
        Effect    = "Allow"
        Principal = "*"
        Action    = "s3:GetObject"
        Resource  = "arn:${var.partition}:s3:::prod-${var.region}-starport-layer-bucket/*"
      },
    ]
    ssm = [{
      Sid       = "Register"
      Effect    = "Allow"
      Principal = "*"
      Action    = "ssm:UpdateInstanceInformation"
      Resource  = "*"
      Condition = { StringEquals = local.ours }
    }]
    ssmmessages = [{
      Sid       = "Session"
      Effect    = "Allow"
      Principal = "*"
      Action    = ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]
      Resource  = "*"
      Condition = { StringEquals = local.ours }
    }]
    "ecr.api" = local.pull
    "ecr.dkr" = local.pull
  }
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.this.id]
  policy            = local.policies["s3"]
}

resource "aws_vpc_endpoint" "service" {
  for_each            = setsubtract(keys(local.policies), ["s3"])
  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [aws_subnet.this.id]
  security_group_ids  = [aws_security_group.endpoints.id]
  policy              = local.policies[each.key]
}
