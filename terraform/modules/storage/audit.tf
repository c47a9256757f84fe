# Data access logs are off unless they are asked for. They say who read and wrote which object, and are
# kept with the project's other logs; this sets them for Cloud Storage in the whole project.
resource "google_project_iam_audit_config" "storage" {
  project = var.project_id
  service = "storage.googleapis.com"

  dynamic "audit_log_config" {
    for_each = toset(["DATA_READ", "DATA_WRITE"])
    content {
      log_type = audit_log_config.value
    }
  }
}
