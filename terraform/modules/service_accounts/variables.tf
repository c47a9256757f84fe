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
