variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "account_id" {
  description = "The account; nobody else's keys and buckets are reached from the network."
  type        = string
}

variable "partition" {
  description = "aws, aws-cn or aws-us-gov."
  type        = string
}

variable "dns_suffix" {
  description = "What the names of the services end with."
  type        = string
}

variable "region" {
  description = "The region."
  type        = string
}

variable "zone" {
  description = "Letter of the availability zone."
  type        = string
}

variable "ami_id" {
  description = "Machine image."
  type        = string
}

variable "instance_type" {
  description = "Type of the machine."
  type        = string
}

variable "spot" {
  description = "Whether it is a spot machine."
  type        = bool
}

variable "volume_GiB" {
  description = "Size of the disk, GiB."
  type        = number
}

variable "idle_minutes" {
  description = "After how long without work it stops, minutes."
  type        = number
}

variable "vpc_cidr" {
  description = "Addresses of the network."
  type        = string
}

variable "data_bucket_arn" {
  description = "Bucket of patients' data: read."
  type        = string
}

variable "results_bucket_arn" {
  description = "Bucket of results: read and written."
  type        = string
}

variable "repository_arn" {
  description = "The repository of images: read."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the disk."
  type        = string
}

variable "instance_profile" {
  description = "Profile of the machine."
  type        = string
}

variable "flow_role_arn" {
  description = "Role that writes the logs of the network."
  type        = string
}

variable "flow_group_arn" {
  description = "Log group of the network."
  type        = string
}
