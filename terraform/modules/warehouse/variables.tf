variable "project_id" {
  description = "Project of the dataset."
  type        = string
}

variable "location" {
  description = "Location of the dataset; that of the output bucket."
  type        = string
}

variable "dataset_id" {
  description = "Name of the dataset."
  type        = string
  default     = "beam_bert"

  validation {
    condition     = can(regex("^[A-Za-z0-9_]+$", var.dataset_id))
    error_message = "Letters, digits and underscores."
  }
}

variable "output" {
  description = "The --output of the jobs: its bucket and the prefix within it (empty, or ending with a slash)."
  type = object({
    bucket = string
    prefix = optional(string, "")
  })

  validation {
    condition     = var.output.prefix == "" || endswith(var.output.prefix, "/")
    error_message = "prefix is empty or ends with a slash."
  }
}

variable "partition" {
  description = "The partition's keys and types, outermost first, as every run writes them."
  type = list(object({
    key  = string
    type = optional(string, "STRING")
  }))
  default = [{ key = "run_date", type = "DATE" }]

  validation {
    condition     = length(var.partition) >= 1 && alltrue([for level in var.partition : contains(["STRING", "INTEGER", "DATE", "TIMESTAMP"], level.type)])
    error_message = "One level at least; types are STRING, INTEGER, DATE or TIMESTAMP."
  }
}

variable "carried_columns" {
  description = "Columns that your inputs carry to the output, with BigQuery types."
  type = list(object({
    name        = string
    type        = string
    mode        = optional(string, "NULLABLE")
    description = optional(string, "")
  }))
  default = []
}

variable "has_lists" {
  description = "Whether the jobs write labels and scores (top_k above 1, all_scores, or a multi-label model)."
  type        = bool
  default     = false
}

variable "require_partition_filter" {
  description = "Refuse queries that do not say which partition they read."
  type        = bool
  default     = true
}

variable "kms_key_name" {
  description = "Key of the dataset and its tables; null: Google's own keys."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Refuse to destroy the tables, and hold their placeholders. The files stay in any case."
  type        = bool
  default     = true
}

variable "labels" {
  description = "Labels of the dataset and its tables."
  type        = map(string)
  default     = {}
}
