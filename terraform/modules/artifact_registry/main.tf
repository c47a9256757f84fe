resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:set kms_key_name where policy asks for your own keys
  project       = var.project_id
  location      = var.location
  repository_id = var.repository_id
  description   = "Images of beam_bert: one that launches, works and trains."
  format        = "DOCKER"
  kms_key_name  = var.kms_key_name
  labels        = var.labels

  # Templates and jobs name images by digest, so a moved tag changes nothing that runs. With immutable
  # tags no image with a tag could be deleted, and the build gives every image one.
  docker_config {
    immutable_tags = false
  }

  cleanup_policy_dry_run = false

  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"

    most_recent_versions {
      keep_count = var.keep_versions
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      tag_state  = "ANY"
      older_than = "${var.delete_after_days * 86400}s"
    }
  }
}
