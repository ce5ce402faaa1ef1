variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "account_id" {
  description = "The account; part of the names of buckets, which are global."
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

variable "retention_days" {
  description = "How long old versions of objects are kept, days."
  type        = number
}

variable "log_days" {
  description = "How long logs are kept, days."
  type        = number
}
