data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

module "s3" {
  source         = "./modules/s3"
  name           = var.name
  account_id     = data.aws_caller_identity.this.account_id
  partition      = data.aws_partition.this.partition
  region         = var.region
  retention_days = var.retention_days
  log_days       = var.log_days
}

module "iam" {
  source             = "./modules/iam"
  name               = var.name
  account_id         = data.aws_caller_identity.this.account_id
  partition          = data.aws_partition.this.partition
  region             = var.region
  stewards           = var.stewards
  data_bucket_arn    = module.s3.data_bucket_arn
  results_bucket_arn = module.s3.results_bucket_arn
  kms_key_arn        = module.s3.kms_key_arn
  repository_arn     = aws_ecr_repository.train.arn
  trail_group_arn    = aws_cloudwatch_log_group.this["trail"].arn
  flow_group_arn     = aws_cloudwatch_log_group.this["flow"].arn
  vpc_id             = module.ec2.vpc_id
}

module "ec2" {
  source             = "./modules/ec2"
  name               = var.name
  account_id         = data.aws_caller_identity.this.account_id
  partition          = data.aws_partition.this.partition
  dns_suffix         = data.aws_partition.this.dns_suffix
  region             = var.region
  zone               = var.zone
  ami_id             = var.ami_id
  instance_type      = var.instance_type
  spot               = var.spot
  volume_GiB         = var.volume_GiB
  idle_minutes       = var.idle_minutes
  vpc_cidr           = var.vpc_cidr
  data_bucket_arn    = module.s3.data_bucket_arn
  results_bucket_arn = module.s3.results_bucket_arn
  repository_arn     = aws_ecr_repository.train.arn
  kms_key_arn        = module.s3.kms_key_arn
  instance_profile   = module.iam.instance_profile
  flow_role_arn      = module.iam.flow_role_arn
  flow_group_arn     = aws_cloudwatch_log_group.this["flow"].arn
}

resource "aws_ecr_repository" "train" {
  name                 = "${var.name}/train"
  image_tag_mutability = "IMMUTABLE"

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = module.s3.kms_key_arn
  }

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "train" {
  repository = aws_ecr_repository.train.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "the last twenty images"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 20 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_budgets_budget" "this" {
  name         = "${var.name}-month"
  budget_type  = "COST"
  limit_amount = tostring(var.budget_USD)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  notification {
    comparison_operator        = "GREATER_THAN"
    threshold                  = 80
    threshold_type             = "PERCENTAGE"
    notification_type          = "FORECASTED"
    subscriber_email_addresses = var.budget_e_mails
  }

  notification {
    comparison_operator        = "GREATER_THAN"
    threshold                  = 100
    threshold_type             = "PERCENTAGE"
    notification_type          = "ACTUAL"
    subscriber_email_addresses = var.budget_e_mails
  }
}
