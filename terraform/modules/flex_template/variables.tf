variable "template" {
  description = "The template file that the build wrote: its bucket and object name."
  type = object({
    bucket = string
    object = string
  })

  validation {
    condition     = can(regex("^[^/].*\\.json$", var.template.object))
    error_message = "object is the name within the bucket, such as classify-1f2e3d4.json."
  }
}

variable "service_account" {
  description = "Address of the worker account; the launcher machine runs as it too."
  type        = string

  validation {
    condition     = can(regex("^[^@]+@[^@]+\\.iam\\.gserviceaccount\\.com$", var.service_account))
    error_message = "Give an account of your own: Compute Engine's default account may edit the whole project."
  }
}

variable "temp_url" {
  description = "gs:// prefix for what a job needs while it runs."
  type        = string

  validation {
    condition     = startswith(var.temp_url, "gs://")
    error_message = "Begins with gs://."
  }
}

variable "subnetwork" {
  description = "The workers' subnet: regions/REGION/subnetworks/NAME."
  type        = string

  validation {
    condition     = can(regex("regions/[^/]+/subnetworks/[^/]+$", var.subnetwork))
    error_message = "Give regions/REGION/subnetworks/NAME."
  }
}

variable "workers" {
  description = "The machines; what is null is left to the job, which knows what a GPU needs."
  type = object({
    machine_type          = optional(string)
    initial               = optional(number)
    maximum               = optional(number, 10)
    disk_gb               = optional(number)
    launcher_machine_type = optional(string, "n1-standard-2")
  })
  default = {}

  validation {
    condition     = var.workers.maximum >= 1 && var.workers.maximum >= coalesce(var.workers.initial, 1)
    error_message = "1 <= initial <= maximum."
  }

  validation {
    condition     = coalesce(var.workers.disk_gb, 30) >= 30
    error_message = "The image alone needs tens of gigabytes: give 30 or more, 50 or more with a GPU."
  }
}

variable "experiments" {
  description = "Further Dataflow experiments."
  type        = list(string)
  default     = []
}

variable "kms_key_name" {
  description = "Key for the workers' disks and the job's state; null: Google's own keys."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the job and its machines; the cost budget goes by them."
  type        = map(string)
  default     = {}
}
