variable "project_id" {
  description = "Project that owns the repository."
  type        = string
}

variable "location" {
  description = "Region of the repository; the one in which the jobs run."
  type        = string
}

variable "repository_id" {
  description = "Name of the repository."
  type        = string
  default     = "beam-bert"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,61}[a-z0-9]$", var.repository_id))
    error_message = "Lower-case letters, digits and hyphens."
  }
}

variable "kms_key_name" {
  description = "Key that encrypts the images; null: Google's own keys. Cannot be changed later."
  type        = string
  default     = null
}

variable "keep_versions" {
  description = "How many of the newest images are kept whatever their age."
  type        = number
  default     = 20

  validation {
    condition     = var.keep_versions >= 2
    error_message = "Keep two at least: the one that runs and the one to go back to."
  }
}

variable "delete_after_days" {
  description = "Days after which an image is deleted, unless it is among the newest."
  type        = number
  default     = 90

  validation {
    condition     = var.delete_after_days >= 1
    error_message = "A day at least."
  }
}

variable "labels" {
  description = "Labels of the repository."
  type        = map(string)
  default     = {}
}
