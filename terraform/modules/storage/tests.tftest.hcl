mock_provider "google" {}

variables {
  project_id = "your-project"
  location   = "europe-west1"
  name       = "your-project-beam-bert"
}

run "buckets_are_closed_and_who_reads_is_logged" {
  command = plan

  assert {
    condition     = alltrue([for bucket in google_storage_bucket.kept : bucket.public_access_prevention == "enforced" && bucket.uniform_bucket_level_access])
    error_message = "No bucket is public."
  }

  assert {
    condition     = toset(google_project_iam_audit_config.storage.audit_log_config[*].log_type) == toset(["DATA_READ", "DATA_WRITE"])
    error_message = "Data access logs are off unless asked for."
  }
}

run "retention_is_a_day_at_least" {
  command = plan
  variables {
    raw_retention_days = 0
  }
  expect_failures = [var.raw_retention_days]
}
