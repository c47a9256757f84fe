mock_provider "google" {}

variables {
  project_id = "your-project"
  location   = "europe-west1"
}

run "old_images_are_deleted_whatever_their_tags_and_the_newest_are_kept" {
  command = plan

  assert {
    condition     = contains([for policy in google_artifact_registry_repository.images.cleanup_policies : one(policy.condition[*].tag_state)], "ANY")
    error_message = "The build tags every image, so a rule for untagged ones deletes nothing."
  }

  assert {
    condition     = google_artifact_registry_repository.images.docker_config[0].immutable_tags == false
    error_message = "An image with an immutable tag cannot be deleted."
  }

  assert {
    condition     = contains([for policy in google_artifact_registry_repository.images.cleanup_policies : one(policy.most_recent_versions[*].keep_count)], 20)
    error_message = "What runs, and what to go back to, is among the newest."
  }
}

run "two_images_at_least_are_kept" {
  command = plan
  variables {
    keep_versions = 1
  }
  expect_failures = [var.keep_versions]
}
