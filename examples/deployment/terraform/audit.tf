# Who did what: every call of the API, and every read and write of an object with patients' data or results.

resource "aws_cloudwatch_log_group" "this" {
  for_each          = toset(["trail", "flow"])
  name              = "/${var.name}/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = module.s3.kms_key_arn
}

resource "aws_cloudtrail" "this" {
  #checkov:skip=CKV_AWS_252:a message per delivered file of logs helps nobody; the logs also go to CloudWatch
  name                          = var.name
  s3_bucket_name                = module.s3.logs_bucket
  kms_key_id                    = module.s3.kms_key_arn
  cloud_watch_logs_group_arn    = "${aws_cloudwatch_log_group.this["trail"].arn}:*"
  cloud_watch_logs_role_arn     = module.iam.trail_role_arn
  enable_log_file_validation    = true
  include_global_service_events = true
  is_multi_region_trail         = true

  event_selector {
    read_write_type           = "All"
    include_management_events = true

    data_resource {
      type   = "AWS::S3::Object"
      values = ["${module.s3.data_bucket_arn}/", "${module.s3.results_bucket_arn}/"]
    }
  }

  depends_on = [module.s3, module.iam] # it tries both when it is made
}
