mock_provider "google" {
  mock_resource "google_bigquery_connection" {
    defaults = {
      name           = "projects/1/locations/europe-west1/connections/c"
      cloud_resource = { service_account_id = "bqcx-1@gcp-sa-bigquery-condel.iam.gserviceaccount.com" }
    }
  }
}

variables {
  project_id = "your-project"
  location   = "europe-west1"
  output     = { bucket = "output", prefix = "documents/" }
}

run "each_table_stands_over_a_file_before_the_first_night" {
  assert {
    condition     = google_storage_bucket_object.placeholders["rejects"].name == "documents/rejects/run_date=1970-01-01/placeholder.parquet"
    error_message = "BigQuery refuses a partitioned table over no files."
  }

  assert {
    condition     = keys(google_bigquery_table.tables) == keys(google_storage_bucket_object.placeholders)
    error_message = "Each table has its placeholder."
  }
}

run "a_placeholder_has_as_many_levels_as_the_partition" {
  variables {
    partition = [{ key = "country" }, { key = "hour", type = "INTEGER" }]
  }
  assert {
    condition     = google_storage_bucket_object.placeholders["predictions"].name == "documents/predictions/country=none/hour=0/placeholder.parquet"
    error_message = "A file at another level breaks the table."
  }
}
