locals {
  # Days after which a live object is deleted; null: never. What was overwritten or deleted stays for
  # `old_days` more, except in the output: a run stages and moves every shard, so old versions of
  # staging would be paid for again and again.
  kept = {
    raw       = { delete_days = var.raw_retention_days, old_days = 30, soft_delete_s = 604800 }
    models    = { delete_days = null, old_days = 90, soft_delete_s = 604800 }
    templates = { delete_days = null, old_days = 90, soft_delete_s = 604800 }
    output    = { delete_days = var.output_retention_days, old_days = 7, soft_delete_s = 0 }
  }
}

resource "google_storage_bucket" "kept" {
  #checkov:skip=CKV_GCP_62:data access logs, which audit.tf turns on, name who read or wrote what; usage logs do not
  for_each = local.kept

  project                     = var.project_id
  name                        = "${var.name}-${each.key}"
  location                    = var.location
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy
  labels                      = var.labels

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = each.value.soft_delete_s
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = each.value.old_days
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 2
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.delete_days == null ? [] : [each.value.delete_days]
    content {
      action {
        type = "Delete"
      }
      condition {
        age        = lifecycle_rule.value
        with_state = "LIVE"
      }
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]
    content {
      default_kms_key_name = encryption.value
    }
  }
}

resource "google_storage_bucket" "temp" {
  #checkov:skip=CKV_GCP_62:data access logs, which audit.tf turns on, name who read or wrote what; usage logs do not
  #checkov:skip=CKV_GCP_78:holds what a running job can make again; versions would only be paid for
  project                     = var.project_id
  name                        = "${var.name}-temp"
  location                    = var.location
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy
  labels                      = var.labels

  # Beam warns where its temp or staging bucket keeps what a job deletes.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = var.temp_retention_days
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]
    content {
      default_kms_key_name = encryption.value
    }
  }
}
