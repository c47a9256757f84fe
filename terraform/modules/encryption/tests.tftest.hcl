mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
  mock_data "google_storage_project_service_account" {
    defaults = { email_address = "service-123456789012@gs-project-accounts.iam.gserviceaccount.com" }
  }
  mock_data "google_bigquery_default_service_account" {
    defaults = { email = "bq-123456789012@bigquery-encryption.iam.gserviceaccount.com" }
  }
}
mock_provider "google-beta" {}

variables {
  project_id   = "your-project"
  kms_key_name = "projects/your-keys/locations/europe-west1/keyRings/data/cryptoKeys/beam-bert"
}

run "every_service_that_encrypts_may_use_the_key" {
  assert {
    condition = toset([for member in google_kms_crypto_key_iam_member.agents : member.member]) == toset([
      "serviceAccount:bq-123456789012@bigquery-encryption.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@compute-system.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@dataflow-service-producer-prod.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@gcp-sa-aiplatform.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@gcp-sa-artifactregistry.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@gcp-sa-workflows.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com",
    ])
    error_message = "An agent that may not use the key fails what it serves."
  }

  assert {
    condition     = output.kms_key_name == var.kms_key_name
    error_message = "The key goes through unchanged."
  }
}

run "a_key_that_is_none_is_refused" {
  command = plan
  variables {
    kms_key_name = "beam-bert"
  }
  expect_failures = [var.kms_key_name]
}
