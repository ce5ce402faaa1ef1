variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "account_id" {
  description = "The account."
  type        = string
}

variable "partition" {
  description = "aws, aws-cn or aws-us-gov."
  type        = string
}

variable "region" {
  description = "The region."
  type        = string
}

variable "stewards" {
  description = "Who may take the role of a data steward; ARNs."
  type        = list(string)
}

variable "data_bucket_arn" {
  description = "Bucket of patients' data."
  type        = string
}

variable "results_bucket_arn" {
  description = "Bucket of results."
  type        = string
}

variable "kms_key_arn" {
  description = "The key."
  type        = string
}

variable "repository_arn" {
  description = "The repository of images."
  type        = string
}

variable "trail_group_arn" {
  description = "Log group of CloudTrail."
  type        = string
}

variable "flow_group_arn" {
  description = "Log group of the network."
  type        = string
}

variable "vpc_id" {
  description = "The network of the machine."
  type        = string
}
