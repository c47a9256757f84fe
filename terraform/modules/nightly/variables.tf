variable "project_id" {
  description = "Project of the workflow, the schedule and the jobs."
  type        = string
}

variable "region" {
  description = "Region of the workflow, the schedule and the jobs."
  type        = string
}

variable "name" {
  description = "Name of the workflow and start of every job's name."
  type        = string
  default     = "beam-bert"

  validation {
    # The workflow makes NAME-evaluate-20261124 of it; job names have no second hyphen to spare.
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "3 to 32 lower-case letters, digits and hyphens."
  }
}

variable "launcher_service_account" {
  description = "Address of the account that the workflow runs as."
  type        = string
}

variable "scheduler_service_account" {
  description = "Address of the account that Cloud Scheduler starts the workflow as."
  type        = string
}

variable "schedule" {
  description = "When: cron in the time zone starts the night; check_cron, after its deadline, looks whether one that began within check_hours has succeeded; paused stops both."
  type = object({
    cron        = optional(string, "0 2 * * *")
    time_zone   = optional(string, "Etc/UTC")
    paused      = optional(bool, false)
    check_cron  = optional(string, "0 11 * * *")
    check_hours = optional(number, 10)
  })
  default = {}

  validation {
    condition     = alltrue([for cron in [var.schedule.cron, var.schedule.check_cron] : length(split(" ", cron)) == 5])
    error_message = "cron and check_cron have five fields, such as 0 2 * * *."
  }

  validation {
    condition     = var.schedule.check_hours > var.limits.deadline_hours && var.schedule.check_hours <= 24
    error_message = "check_hours is more than limits.deadline_hours, and 24 at most: else a night is called late that still has time."
  }
}

variable "template" {
  description = "What module flex_template gives: the template file, the launch environment, and parameters of every launch."
  type = object({
    container_spec_gcs_path = string
    environment             = any
    parameters              = optional(map(string), {})
  })
}

variable "classify" {
  description = "Parameters of the template by name (see flex_template/metadata.json), all of them strings; lists with commas. incremental is true unless it says false. Not partition, overwrite and run_id, which the workflow sets."
  type        = map(string)

  validation {
    condition     = alltrue([for name in ["input", "output", "model"] : try(var.classify[name] != "", false)])
    error_message = "input, output and model are required."
  }

  validation {
    condition     = length(setintersection(keys(var.classify), ["partition", "overwrite", "run_id"])) == 0
    error_message = "The workflow sets partition, overwrite and run_id itself."
  }

  validation {
    condition     = can(regex("^gs://[^/]+(/.*)?$", var.classify["output"]))
    error_message = "output is a gs:// prefix."
  }
}

variable "partition_key" {
  description = "Key of the partition that a night writes: KEY=2026-11-24."
  type        = string
  default     = "run_date"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9_]*$", var.partition_key))
    error_message = "Letters, digits and underscores."
  }
}

variable "limits" {
  description = "How long a night may take before its job is cancelled, how often a failed job is started in all, and how often the workflow looks."
  type = object({
    deadline_hours = optional(number, 8)
    attempts       = optional(number, 2)
    poll_s         = optional(number, 60)
  })
  default = {}

  validation {
    condition     = var.limits.deadline_hours > 0 && var.limits.deadline_hours <= 23
    error_message = "More than 0 and at most 23 hours: the next night must find this one ended."
  }

  validation {
    condition     = var.limits.attempts >= 1 && var.limits.attempts <= 5
    error_message = "1 to 5 attempts."
  }

  validation {
    condition     = var.limits.poll_s >= 10 && var.limits.poll_s <= 600
    error_message = "10 to 600 seconds."
  }
}

variable "training" {
  description = "Refresh of the model before the classification; null: none. The commands run in the image; each job may take timeout_hours, all of them together deadline_hours, then the documents are classified with the old model; evaluate_command gets --output=gs://BUCKET/PREFIX/NIGHT and writes gate.json there."
  type = object({
    image            = string
    service_account  = string
    bucket           = string
    prefix           = optional(string, "gates/")
    train_command    = list(string)
    evaluate_command = list(string)
    promote_command  = list(string)
    machine_type     = optional(string, "n1-standard-8")
    accelerator      = optional(object({ type = string, count = number }))
    timeout_hours    = optional(number, 3)
    deadline_hours   = optional(number, 3)
  })
  default = null

  validation {
    condition     = try(var.training.deadline_hours, 0) < var.limits.deadline_hours && try(var.training.deadline_hours, 1) > 0
    error_message = "training.deadline_hours is more than 0 and less than limits.deadline_hours: what is left is the classification's."
  }

  validation {
    condition     = var.training == null || can(regex("@sha256:[0-9a-f]{64}$", var.training.image))
    error_message = "image is given by its digest."
  }

  validation {
    condition     = can(regex("^NVIDIA_", try(var.training.accelerator.type, "NVIDIA_")))
    error_message = "Vertex AI names accelerators in its own way: NVIDIA_L4, NVIDIA_TESLA_T4, NVIDIA_A100_80GB, …"
  }

  validation {
    condition     = var.training == null || try(endswith(var.training.prefix, "/"), false)
    error_message = "prefix ends with a slash."
  }
}

variable "labels" {
  description = "Labels of the workflow and of training jobs."
  type        = map(string)
  default     = {}
}

variable "kms_key_name" {
  description = "Key that encrypts the workflows and the training jobs; null: Google's own keys."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Refuse to destroy the workflows."
  type        = bool
  default     = true
}
