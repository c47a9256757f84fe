variable "project_id" {
  description = "Project of the network."
  type        = string
}

variable "region" {
  description = "Region of the subnet; the one in which the jobs run."
  type        = string
}

variable "name" {
  description = "Name of the network and start of all names in it."
  type        = string
  default     = "beam-bert"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,40}$", var.name))
    error_message = "Lower-case letters, digits and hyphens, at most 41."
  }
}

variable "subnet_cidr" {
  description = "Addresses of the workers; one each, plus four that Google keeps."
  type        = string
  default     = "10.90.0.0/22"

  validation {
    condition     = can(cidrhost(var.subnet_cidr, 0)) && try(tonumber(split("/", var.subnet_cidr)[1]) <= 28, false)
    error_message = "Give a range such as 10.90.0.0/22, /28 or larger."
  }
}

variable "google_apis" {
  description = "Which Google addresses workers may reach: private (all Google APIs) or restricted (only those that VPC Service Controls know)."
  type        = string
  default     = "private"

  validation {
    condition     = contains(["private", "restricted"], var.google_apis)
    error_message = "private or restricted."
  }
}

variable "log_denied" {
  description = "Log every connection that the closed egress refuses."
  type        = bool
  default     = true
}
