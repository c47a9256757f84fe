output "urls" {
  description = "The buckets: put documents into raw, find predictions in output."
  value       = module.storage.urls
}

output "build_command" {
  description = "Builds the image and the template file; run it in the repository's root."
  value = join(" ", [
    "gcloud builds submit --config=cloudbuild.yaml",
    "--project=${var.project_id} --region=${var.region}",
    "--service-account=${module.service_accounts.ids.builder}",
    "--gcs-source-staging-dir=${module.storage.urls.temp}/source",
    "--substitutions=_IMAGE=${module.artifact_registry.image_prefix}/beam-bert,_TEMPLATES=${module.storage.urls.templates},_TAG=$(git rev-parse --short HEAD)",
  ])
}

output "workflow" {
  description = "Name of the nightly workflow; null before the first build."
  value       = try(module.nightly["this"].workflow_name, null)
}

output "tables" {
  description = "The BigQuery tables; null before the first build."
  value       = try(module.warehouse["this"].tables, null)
}
