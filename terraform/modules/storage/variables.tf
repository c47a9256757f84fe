variable "project_id" {
  description = "Project that owns the buckets."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "A project id has 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "location" {
  description = "Location of the buckets; the region in which the jobs run."
  type        = string
}

variable "name" {
  description = "Start of every bucket's name; bucket names are global, so include the project."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,50}$", var.name))
    error_message = "At most 51 lower-case letters, digits and hyphens."
  }
}

variable "kms_key_name" {
  description = "Key that encrypts new objects (projects/…/cryptoKeys/…); null: Google's own keys."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/.+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "Give projects/P/locations/L/keyRings/R/cryptoKeys/K."
  }
}

variable "raw_retention_days" {
  description = "Days after which a raw document is deleted; null: never."
  type        = number
  default     = null

  validation {
    condition     = var.raw_retention_days == null || try(var.raw_retention_days >= 1, false)
    error_message = "At least one day, or null."
  }
}

variable "output_retention_days" {
  description = "Days after which predictions, rejects and manifests are deleted; null: never."
  type        = number
  default     = null

  validation {
    condition     = var.output_retention_days == null || try(var.output_retention_days >= 1, false)
    error_message = "At least one day, or null."
  }
}

variable "temp_retention_days" {
  description = "Days after which a file in the temp bucket is deleted; longer than any job runs."
  type        = number
  default     = 14

  validation {
    condition     = var.temp_retention_days >= 2
    error_message = "A running job needs its files: at least two days."
  }
}

variable "labels" {
  description = "Labels of every bucket."
  type        = map(string)
  default     = {}
}

variable "force_destroy" {
  description = "Let `terraform destroy` delete buckets that hold objects. For trials only."
  type        = bool
  default     = false
}
