# Who may do what, all of it: additive, no basic roles, no keys, nothing for people.

locals {
  # objectUser reads, writes and deletes objects; it cannot change who may.
  bucket_roles = {
    "worker reads raw"          = { bucket = "raw", account = "worker", role = "roles/storage.objectViewer" }
    "worker reads models"       = { bucket = "models", account = "worker", role = "roles/storage.objectViewer" }
    "worker reads templates"    = { bucket = "templates", account = "worker", role = "roles/storage.objectViewer" }
    "worker writes output"      = { bucket = "output", account = "worker", role = "roles/storage.objectUser" }
    "worker writes temp"        = { bucket = "temp", account = "worker", role = "roles/storage.objectUser" }
    "trainer reads raw"         = { bucket = "raw", account = "trainer", role = "roles/storage.objectViewer" }
    "trainer writes models"     = { bucket = "models", account = "trainer", role = "roles/storage.objectUser" }
    "launcher reads templates"  = { bucket = "templates", account = "launcher", role = "roles/storage.objectViewer" }
    "launcher reads output"     = { bucket = "output", account = "launcher", role = "roles/storage.objectViewer" }
    "launcher reads the gate"   = { bucket = "models", account = "launcher", role = "roles/storage.objectViewer" }
    "builder adds templates"    = { bucket = "templates", account = "builder", role = "roles/storage.objectCreator" }
    "builder reads templates"   = { bucket = "templates", account = "builder", role = "roles/storage.objectViewer" }
    "builder reads its sources" = { bucket = "temp", account = "builder", role = "roles/storage.objectViewer" }
  }
  project_roles = {
    "worker works"          = { account = "worker", role = "roles/dataflow.worker" }
    "launcher logs"         = { account = "launcher", role = "roles/logging.logWriter" }
    "trainer logs"          = { account = "trainer", role = "roles/logging.logWriter" }
    "builder logs"          = { account = "builder", role = "roles/logging.logWriter" }
    "scheduler starts runs" = { account = "scheduler", role = "roles/workflows.invoker" }
  }
  repository_roles = {
    worker  = "roles/artifactregistry.reader"
    trainer = "roles/artifactregistry.reader"
    builder = "roles/artifactregistry.writer"
  }
}

resource "google_storage_bucket_iam_member" "buckets" {
  for_each = local.bucket_roles

  bucket = var.buckets[each.value.bucket]
  role   = each.value.role
  member = local.members[each.value.account]
}

resource "google_project_iam_member" "project" {
  for_each = local.project_roles

  project = var.project_id
  role    = each.value.role
  member  = local.members[each.value.account]
}

resource "google_artifact_registry_repository_iam_member" "images" {
  for_each = local.repository_roles

  project    = var.project_id
  location   = var.repository.location
  repository = var.repository.repository_id
  role       = each.value
  member     = local.members[each.key]
}

# roles/dataflow.developer and roles/aiplatform.user allow far more than a workflow needs.
resource "google_project_iam_custom_role" "launcher" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_launcher"
  title       = "beam_bert launcher"
  description = "Start, watch and cancel Dataflow jobs and Vertex AI custom jobs."
  permissions = [
    "aiplatform.customJobs.cancel",
    "aiplatform.customJobs.create",
    "aiplatform.customJobs.get",
    "aiplatform.customJobs.list",
    "dataflow.jobs.cancel",
    "dataflow.jobs.create",
    "dataflow.jobs.get",
    "dataflow.jobs.list",
    "dataflow.jobs.updateContents",
  ]
}

resource "google_project_iam_member" "launcher" {
  project = var.project_id
  role    = google_project_iam_custom_role.launcher.id
  member  = local.members["launcher"]
}

# Whoever starts a job that runs as an account needs this on that account, and only on that one.
resource "google_service_account_iam_member" "launcher_acts_as" {
  for_each = toset(["worker", "trainer"])

  service_account_id = google_service_account.accounts[each.key].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.members["launcher"]
}
