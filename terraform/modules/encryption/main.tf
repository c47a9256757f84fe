# Who encrypts with a key of your own: the services' agents. An agent is made when it is first asked for,
# and a grant to one that is not there fails, so each is asked for here, before its grant. Whoever takes
# the key from this module's output waits for all of them.

data "google_project" "this" {
  project_id = var.project_id
}

locals {
  number = data.google_project.this.number
  # Service -> its agent. https://cloud.google.com/iam/docs/service-agents
  agents = {
    "aiplatform.googleapis.com"       = "service-${local.number}@gcp-sa-aiplatform.iam.gserviceaccount.com"
    "artifactregistry.googleapis.com" = "service-${local.number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    "compute.googleapis.com"          = "service-${local.number}@compute-system.iam.gserviceaccount.com"
    "dataflow.googleapis.com"         = "service-${local.number}@dataflow-service-producer-prod.iam.gserviceaccount.com"
    "workflows.googleapis.com"        = "service-${local.number}@gcp-sa-workflows.iam.gserviceaccount.com"
  }
}

resource "google_project_service_identity" "agents" {
  provider = google-beta
  for_each = local.agents

  project = var.project_id
  service = each.key
}

# These two are made by being looked at.
data "google_storage_project_service_account" "storage" {
  project = var.project_id
}

data "google_bigquery_default_service_account" "bigquery" {
  project = var.project_id
}

resource "google_kms_crypto_key_iam_member" "agents" {
  for_each = merge(local.agents, {
    "storage.googleapis.com"  = data.google_storage_project_service_account.storage.email_address
    "bigquery.googleapis.com" = data.google_bigquery_default_service_account.bigquery.email
  })

  crypto_key_id = var.kms_key_name
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${each.value}"

  depends_on = [google_project_service_identity.agents]
}
