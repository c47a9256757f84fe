variable "project_id" {
  description = "Project that is watched."
  type        = string
}

variable "name" {
  description = "Start of every alert's name; also the start of the job names that are watched."
  type        = string
  default     = "beam-bert"
}

variable "region" {
  description = "Region of the workflows and jobs, for the commands in the alerts' texts."
  type        = string
}

variable "workflow_name" {
  description = "Name of the nightly workflow, and of its schedule."
  type        = string
}

variable "watch_workflow_name" {
  description = "Name of the workflow that fails where no night has succeeded by its hour."
  type        = string
}

variable "emails" {
  description = "Addresses that hear of an alert."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "Each is a mail address."
  }
}

variable "notification_channels" {
  description = "Further channels that exist already (projects/…/notificationChannels/…)."
  type        = list(string)
  default     = []
}

variable "max_job_hours" {
  description = "Alert where a job runs for longer."
  type        = number
  default     = 4

  validation {
    condition     = var.max_job_hours > 0
    error_message = "More than 0."
  }
}

variable "max_reject_rate" {
  description = "Alert where a larger share of the rows is rejected; below the job's own max_reject_rate, which fails the run."
  type        = number
  default     = 0.02

  validation {
    condition     = var.max_reject_rate > 0 && var.max_reject_rate < 1
    error_message = "Between 0 and 1."
  }
}

variable "budget" {
  description = "Monthly budget for what carries the labels; null: none. The amount is in the billing account's currency."
  type = object({
    billing_account = string
    amount          = number
    currency        = optional(string)
    labels          = map(string)
  })
  default = null

  validation {
    condition     = var.budget == null || try(var.budget.amount >= 1 && floor(var.budget.amount) == var.budget.amount, false)
    error_message = "amount is a whole number, 1 or more."
  }

  validation {
    condition     = var.budget == null || try(length(var.budget.labels) == 1, false)
    error_message = "A budget goes by exactly one label, such as { app = \"beam-bert\" }."
  }
}
