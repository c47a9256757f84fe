output "workflow_name" {
  description = "Name of the workflow: gcloud workflows run NAME."
  value       = google_workflows_workflow.nightly.name
}

output "workflow_id" {
  description = "Full name of the workflow."
  value       = google_workflows_workflow.nightly.id
}

output "schedule_name" {
  description = "Name of the schedule: gcloud scheduler jobs run NAME."
  value       = google_cloud_scheduler_job.start["nightly"].name
}

output "watch_workflow_name" {
  description = "Name of the workflow that fails where no night has succeeded by its hour."
  value       = google_workflows_workflow.watch.name
}
