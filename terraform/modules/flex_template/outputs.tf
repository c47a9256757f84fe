output "container_spec_gcs_path" {
  description = "The template file, as flexTemplates.launch takes it."
  value       = "gs://${var.template.bucket}/${var.template.object}"
}

output "environment" {
  description = "The launch environment (FlexTemplateRuntimeEnvironment), without what is not set."
  value       = { for name, value in local.environment : name => value if value != null }
}

output "parameters" {
  description = "Parameters that every launch gives: the workers' image, which is the template's."
  value       = { sdk_container_image = local.image }
}

output "image" {
  description = "The image by its digest; the same launches, works and trains."
  value       = local.image
}
