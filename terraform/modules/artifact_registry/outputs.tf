output "repository_id" {
  description = "Name of the repository, for IAM."
  value       = google_artifact_registry_repository.images.repository_id
}

output "image_prefix" {
  description = "What image names begin with: REGION-docker.pkg.dev/PROJECT/REPOSITORY."
  value       = "${var.location}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}
