variable "name" {
  description = "Prefix of every name."
  type        = string
  default     = "t1djax"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "Give 3 to 20 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "region" {
  description = "Where everything lies; choose one whose law fits the patients."
  type        = string
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "Give a region such as eu-central-1."
  }
}

variable "zone" {
  description = "Letter of the availability zone; not every zone has every GPU."
  type        = string
  default     = "a"
  validation {
    condition     = can(regex("^[a-f]$", var.zone))
    error_message = "Give one letter from a to f."
  }
}

variable "ami_id" {
  description = "Machine image with the NVIDIA driver, Docker and the SSM agent."
  type        = string
  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "Give the id of a machine image, ami- and 8 to 17 hexadecimal digits."
  }
}

variable "instance_type" {
  description = "Type of the machine; it has a GPU."
  type        = string
  default     = "g6.xlarge"
  validation {
    condition     = can(regex("^(g4dn|g5|g6|g6e|p4d|p4de|p5|p5e|p5en)\\.[0-9a-z]+$", var.instance_type))
    error_message = "Give a type with an NVIDIA GPU: g4dn, g5, g6, g6e, p4d, p4de, p5, p5e or p5en."
  }
}

variable "spot" {
  description = "Whether the machine is a spot one: cheaper, and stopped when the capacity is needed elsewhere."
  type        = bool
  default     = true
}

variable "volume_GiB" {
  description = "Size of the encrypted disk, GiB."
  type        = number
  default     = 200
  validation {
    condition     = var.volume_GiB >= 50 && var.volume_GiB <= 4000 && floor(var.volume_GiB) == var.volume_GiB
    error_message = "Give a whole number from 50 to 4000."
  }
}

variable "idle_minutes" {
  description = "After how long without work the machine stops itself, minutes."
  type        = number
  default     = 30
  validation {
    condition     = var.idle_minutes >= 10 && var.idle_minutes <= 720 && var.idle_minutes % 5 == 0
    error_message = "Give a multiple of 5 from 10 to 720: an alarm looks back a day at most."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the private network."
  type        = string
  default     = "10.42.0.0/20"
  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.).*/(1[6-9]|2[0-2])$", var.vpc_cidr))
    error_message = "Give a private range from /16 to /22, such as 10.42.0.0/20."
  }
}

variable "retention_days" {
  description = "How long deleted and replaced objects can be brought back, days. A deletion of a person is final after it."
  type        = number
  default     = 30
  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 365
    error_message = "Give 1 to 365."
  }
}

variable "log_days" {
  description = "How long the audit trail is kept, days."
  type        = number
  default     = 731
  validation {
    condition     = contains([365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "Give a number that CloudWatch knows, of at least a year: 365, 400, 545, 731, 1096, ..., 3653."
  }
}

variable "budget_USD" {
  description = "Cost per month at which an e-mail is sent (at 80 % forecast and at 100 % spent), US dollars."
  type        = number
  validation {
    condition     = var.budget_USD > 0
    error_message = "Give a positive number."
  }
}

variable "budget_e_mails" {
  description = "Who is told."
  type        = list(string)
  validation {
    condition     = length(var.budget_e_mails) > 0 && alltrue([for x in var.budget_e_mails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", x))])
    error_message = "Give at least one e-mail address."
  }
}

variable "stewards" {
  description = "Users who may put, read and delete patients' data, with a second factor; by ARN."
  type        = list(string)
  validation {
    condition     = length(var.stewards) > 0 && alltrue([for x in var.stewards : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:user/[A-Za-z0-9+=,.@_/-]+$", x))])
    error_message = "Give ARNs of users, and at least one; a whole account is refused, and so are roles, whose sessions carry no second factor."
  }
}
