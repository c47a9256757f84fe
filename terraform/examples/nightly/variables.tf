variable "project_id" {
  description = "Project for all of it; best one of its own (see docs/threat-model.md)."
  type        = string
}

variable "region" {
  description = "Region of the buckets, the jobs, the workflow and the dataset."
  type        = string
  default     = "europe-west1"
}

variable "template" {
  description = "Name of the template file that the build wrote, such as classify-1f2e3d4.json; null: only what a build needs."
  type        = string
  default     = null
}

variable "input" {
  description = "What a night reads, as globs within the raw bucket."
  type        = list(string)
  default     = ["incoming/*.jsonl"]
}

variable "parameters" {
  description = "Further parameters of the template, all strings: text_column, id_column, keep_columns, max_reject_rate, …; incremental is true unless you give false."
  type        = map(string)
  default     = {}
}

variable "model" {
  description = "Model folder within the models bucket, such as banking@production, or a name in the package."
  type        = string
  default     = "sentiment-small-en"
}

variable "gpu" {
  description = "GPU of the workers that run the model, TYPE or TYPE:COUNT, such as nvidia-l4; null: CPU."
  type        = string
  default     = null
}

variable "workers" {
  description = "Machines that read, and compute where there is no GPU; disk_gb null: 50, with a GPU 100."
  type = object({
    machine_type = optional(string, "n2-standard-4")
    initial      = optional(number)
    maximum      = optional(number, 10)
    disk_gb      = optional(number)
  })
  default = {}
}

variable "limits" {
  description = "How long a night may take before its job is cancelled, how often a failed job is started in all, and how often the workflow looks."
  type = object({
    deadline_hours = optional(number, 8)
    attempts       = optional(number, 2)
    poll_s         = optional(number, 60)
  })
  default = {}
}

variable "retention" {
  description = "Days after which raw documents, output and temporary files are deleted; null: never."
  type = object({
    raw_days    = optional(number)
    output_days = optional(number)
    temp_days   = optional(number, 14)
  })
  default = {}
}

variable "schedule" {
  description = "When the night begins (cron), and when one must have succeeded that began within check_hours (check_cron)."
  type = object({
    cron        = optional(string, "0 2 * * *")
    time_zone   = optional(string, "Etc/UTC")
    paused      = optional(bool, false)
    check_cron  = optional(string, "0 11 * * *")
    check_hours = optional(number, 10)
  })
  default = {}
}

variable "training" {
  description = "Commands that refresh the model, run in the image, within deadline_hours; null: the model stays as it is."
  type = object({
    train_command    = list(string)
    evaluate_command = list(string)
    promote_command  = list(string)
    machine_type     = optional(string, "n1-standard-8")
    accelerator      = optional(object({ type = string, count = number }))
    timeout_hours    = optional(number, 3)
    deadline_hours   = optional(number, 3)
  })
  default = null
}

variable "carried_columns" {
  description = "Columns that the inputs carry to the output, with BigQuery types; for the table."
  type        = list(object({ name = string, type = string }))
  default     = []
}

variable "emails" {
  description = "Addresses that hear of failed, late, slow and reject-ridden nights, and of the budget."
  type        = list(string)
  default     = []
}

variable "budget" {
  description = "Billing account and monthly amount to warn at; null: no budget."
  type = object({
    billing_account = string
    amount          = number
    currency        = optional(string)
  })
  default = null
}

variable "kms_key_name" {
  description = "Key for buckets, images, disks, workflows, training jobs and dataset; null: Google's own keys."
  type        = string
  default     = null
}

variable "trial" {
  description = "Let `terraform destroy` remove everything, data included."
  type        = bool
  default     = false
}
