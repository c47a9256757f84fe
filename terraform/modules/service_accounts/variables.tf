variable "project_id" {
  description = "Project of the accounts and of what they may touch."
  type        = string
}

variable "name" {
  description = "Start of every account's id."
  type        = string
  default     = "beam-bert"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "3 to 20 lower-case letters, digits and hyphens: account ids have 30 at most."
  }
}

variable "buckets" {
  description = "The buckets by purpose, as module storage names them."
  type = object({
    raw       = string
    models    = string
    templates = string
    output    = string
    temp      = string
  })
}

variable "repository" {
  description = "The image repository: its location and name."
  type = object({
    location      = string
    repository_id = string
  })
}

variable "output_prefix" {
  description = "Prefix within the output bucket that workers write below; empty: all of it."
  type        = string
  default     = ""

  validation {
    condition     = var.output_prefix == "" || endswith(var.output_prefix, "/")
    error_message = "Empty, or ends with a slash."
  }
}

variable "worker_role" {
  description = "Project role of the workers in place of the custom one, such as roles/dataflow.worker, which may write to every bucket; null: the custom one."
  type        = string
  default     = null
}
