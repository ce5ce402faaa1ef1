output "data_bucket" {
  description = "Bucket for patients' data."
  value       = aws_s3_bucket.this["data"].id
}

output "data_bucket_arn" {
  description = "Its ARN."
  value       = aws_s3_bucket.this["data"].arn
}

output "results_bucket" {
  description = "Bucket for results."
  value       = aws_s3_bucket.this["results"].id
}

output "results_bucket_arn" {
  description = "Its ARN."
  value       = aws_s3_bucket.this["results"].arn
}

output "logs_bucket" {
  description = "Bucket for logs."
  value       = aws_s3_bucket.this["logs"].id
}

output "kms_key_arn" {
  description = "The key."
  value       = aws_kms_key.this.arn
}
