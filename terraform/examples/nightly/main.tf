locals {
  name   = "beam-bert"
  labels = { app = "beam-bert" }
  apis = toset([
    "aiplatform", "artifactregistry", "bigquery", "bigqueryconnection", "billingbudgets", "cloudbuild",
    "cloudkms", "cloudscheduler", "compute", "dataflow", "dns", "iam", "logging", "monitoring", "storage",
    "workflowexecutions", "workflows",
  ])
  output_prefix = "documents/"
  # From the module, so that whatever uses the key waits for the grants.
  kms_key_name = try(module.encryption["this"].kms_key_name, null)
  # What needs a template waits for the first build.
  deployed = var.template == null ? toset([]) : toset(["this"])
}

resource "google_project_service" "apis" {
  for_each = local.apis

  project            = var.project_id
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

module "encryption" {
  source   = "../../modules/encryption"
  for_each = var.kms_key_name == null ? toset([]) : toset(["this"])

  project_id   = var.project_id
  kms_key_name = var.kms_key_name

  depends_on = [google_project_service.apis]
}

module "storage" {
  source = "../../modules/storage"

  project_id    = var.project_id
  location      = var.region
  name          = "${var.project_id}-${local.name}"
  kms_key_name  = local.kms_key_name
  force_destroy = var.trial
  labels        = local.labels

  raw_retention_days    = var.retention.raw_days
  output_retention_days = var.retention.output_days
  temp_retention_days   = var.retention.temp_days

  depends_on = [google_project_service.apis]
}

module "artifact_registry" {
  source = "../../modules/artifact_registry"

  project_id    = var.project_id
  location      = var.region
  repository_id = local.name
  kms_key_name  = local.kms_key_name
  labels        = local.labels

  depends_on = [google_project_service.apis]
}

module "service_accounts" {
  source = "../../modules/service_accounts"

  project_id = var.project_id
  name       = local.name
  buckets    = module.storage.buckets

  output_prefix = local.output_prefix
  repository = {
    location      = var.region
    repository_id = module.artifact_registry.repository_id
  }

  depends_on = [google_project_service.apis]
}

module "network" {
  source = "../../modules/network"

  project_id = var.project_id
  region     = var.region
  name       = local.name

  depends_on = [google_project_service.apis]
}

module "flex_template" {
  source   = "../../modules/flex_template"
  for_each = local.deployed

  template        = { bucket = module.storage.buckets.templates, object = var.template }
  service_account = module.service_accounts.emails.worker
  temp_url        = module.storage.urls.temp
  subnetwork      = module.network.subnetwork
  # The machine is that of workers without a GPU; what has one brings its own. CUDA needs the larger disk.
  workers = {
    machine_type = var.workers.machine_type
    initial      = var.workers.initial
    maximum      = var.workers.maximum
    disk_gb      = coalesce(var.workers.disk_gb, var.gpu == null ? 50 : 100)
  }
  kms_key_name = local.kms_key_name
  labels       = local.labels
}

module "nightly" {
  source   = "../../modules/nightly"
  for_each = local.deployed

  project_id                = var.project_id
  region                    = var.region
  name                      = local.name
  launcher_service_account  = module.service_accounts.emails.launcher
  scheduler_service_account = module.service_accounts.emails.scheduler
  schedule                  = var.schedule
  limits                    = var.limits
  kms_key_name              = local.kms_key_name
  deletion_protection       = !var.trial
  labels                    = local.labels
  template = {
    container_spec_gcs_path = module.flex_template["this"].container_spec_gcs_path
    environment             = module.flex_template["this"].environment
    parameters              = module.flex_template["this"].parameters
  }
  classify = merge(var.parameters, var.gpu == null ? tomap({}) : tomap({ gpu = var.gpu }), {
    input  = join(",", [for glob in var.input : "${module.storage.urls.raw}/${glob}"])
    output = "${module.storage.urls.output}/${trimsuffix(local.output_prefix, "/")}"
    model  = strcontains(var.model, "@") || strcontains(var.model, "/") ? "${module.storage.urls.models}/${var.model}" : var.model
  })
  # Not a condition with null: its arms would have to be of one type, which merge(null, …) is not.
  training = one([for training in var.training[*] : merge(training, {
    image           = module.flex_template["this"].image
    service_account = module.service_accounts.emails.trainer
    bucket          = module.storage.buckets.models
  })])
}

module "monitoring" {
  source   = "../../modules/monitoring"
  for_each = local.deployed

  project_id    = var.project_id
  region        = var.region
  name          = local.name
  workflow_name = module.nightly["this"].workflow_name

  watch_workflow_name = module.nightly["this"].watch_workflow_name

  emails = var.emails
  budget = one([for budget in var.budget[*] : merge(budget, { labels = local.labels })])
}

module "warehouse" {
  source   = "../../modules/warehouse"
  for_each = local.deployed

  project_id          = var.project_id
  location            = var.region
  output              = { bucket = module.storage.buckets.output, prefix = local.output_prefix }
  carried_columns     = var.carried_columns
  kms_key_name        = local.kms_key_name
  deletion_protection = !var.trial
  labels              = local.labels
}
