variable "project_id" {
  description = "Project whose services use the key."
  type        = string
}

variable "kms_key_name" {
  description = "The key, in the region of the buckets and jobs; it may belong to another project."
  type        = string

  validation {
    condition     = can(regex("^projects/.+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "Give projects/P/locations/L/keyRings/R/cryptoKeys/K."
  }
}
