output "tables" {
  description = "The tables by name, as SQL writes them: project.dataset.table."
  value       = { for name, table in google_bigquery_table.tables : name => "${var.project_id}.${table.dataset_id}.${table.table_id}" }
}

output "connection_service_account" {
  description = "The account that reads the bucket for queries."
  value       = google_bigquery_connection.output.cloud_resource[0].service_account_id
}
