output "instance_id" {
  description = "The machine; open a shell with `aws ssm start-session --target ID`."
  value       = module.ec2.instance_id
}

output "data_bucket" {
  description = "Bucket for patients' data, and remote of DVC."
  value       = module.s3.data_bucket
}

output "results_bucket" {
  description = "Bucket for results and MLflow's artifacts."
  value       = module.s3.results_bucket
}

output "repository_url" {
  description = "Where images are pushed to."
  value       = aws_ecr_repository.train.repository_url
}

output "kms_key_arn" {
  description = "The key that everything is encrypted with."
  value       = module.s3.kms_key_arn
}

output "steward_role_arn" {
  description = "The role that may put and delete patients' data."
  value       = module.iam.steward_role_arn
}
