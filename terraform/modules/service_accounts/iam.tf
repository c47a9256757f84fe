# Who may do what, all of it: additive, no basic roles, no keys, nothing for people.

locals {
  # objectUser reads, writes and deletes objects; it cannot change who may. A grant with prefixes is for
  # the objects below them alone: in temp a worker must not reach the sources that the builder builds.
  bucket_roles = {
    "worker reads raw"          = { bucket = "raw", account = "worker", role = "roles/storage.objectViewer", prefixes = [] }
    "worker reads models"       = { bucket = "models", account = "worker", role = "roles/storage.objectViewer", prefixes = [] }
    "worker reads templates"    = { bucket = "templates", account = "worker", role = "roles/storage.objectViewer", prefixes = [] }
    "worker writes output"      = { bucket = "output", account = "worker", role = "roles/storage.objectUser", prefixes = [var.output_prefix] }
    "worker writes temp"        = { bucket = "temp", account = "worker", role = "roles/storage.objectUser", prefixes = ["temp/", "staging/"] }
    "trainer reads raw"         = { bucket = "raw", account = "trainer", role = "roles/storage.objectViewer", prefixes = [] }
    "trainer writes models"     = { bucket = "models", account = "trainer", role = "roles/storage.objectUser", prefixes = [] }
    "launcher reads templates"  = { bucket = "templates", account = "launcher", role = "roles/storage.objectViewer", prefixes = [] }
    "launcher reads output"     = { bucket = "output", account = "launcher", role = "roles/storage.objectViewer", prefixes = [var.output_prefix] }
    "launcher reads the gate"   = { bucket = "models", account = "launcher", role = "roles/storage.objectViewer", prefixes = ["gates/"] }
    "builder adds templates"    = { bucket = "templates", account = "builder", role = "roles/storage.objectCreator", prefixes = [] }
    "builder reads templates"   = { bucket = "templates", account = "builder", role = "roles/storage.objectViewer", prefixes = [] }
    "builder reads its sources" = { bucket = "temp", account = "builder", role = "roles/storage.objectViewer", prefixes = ["source/"] }
  }
  project_roles = {
    "worker works"          = { account = "worker", role = coalesce(var.worker_role, google_project_iam_custom_role.worker.id) }
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

  # Lists are asked of the bucket and not of an object: names can be seen, contents cannot.
  dynamic "condition" {
    for_each = length(compact(each.value.prefixes)) == 0 ? [] : [compact(each.value.prefixes)]
    content {
      title = "only ${join(", ", condition.value)}"
      expression = join(" || ", concat(
        ["resource.type != \"storage.googleapis.com/Object\""],
        [for prefix in condition.value : "resource.name.startsWith(\"projects/_/buckets/${var.buckets[each.value.bucket]}/objects/${prefix}\")"],
      ))
    }
  }
}

# Beam looks at the buckets themselves too; no published role has that alone.
resource "google_storage_bucket_iam_member" "worker_sees_buckets" {
  for_each = toset(["output", "temp"])

  bucket = var.buckets[each.key]
  role   = google_project_iam_custom_role.bucket_reader.id
  member = local.members["worker"]
}

resource "google_project_iam_custom_role" "bucket_reader" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_bucket_reader"
  title       = "beam_bert bucket reader"
  description = "See a bucket's settings, not what is in it."
  permissions = ["storage.buckets.get"]
}

# roles/dataflow.worker without its storage rights, which hold for every bucket of the project: with
# them a document that takes over a worker could promote a model, since new objects are all it takes.
resource "google_project_iam_custom_role" "worker" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_worker"
  title       = "beam_bert worker"
  description = "Do Dataflow's work; which objects it may touch is granted on each bucket."
  permissions = [
    "autoscaling.sites.readRecommendations",
    "autoscaling.sites.writeMetrics",
    "autoscaling.sites.writeState",
    "compute.instanceGroupManagers.update",
    "compute.instances.delete",
    "compute.instances.setDiskAutoDelete",
    "dataflow.jobs.get",
    "dataflow.shuffle.read",
    "dataflow.shuffle.write",
    "dataflow.workItems.lease",
    "dataflow.workItems.sendMessage",
    "dataflow.workItems.update",
    "logging.logEntries.create",
    "monitoring.timeSeries.create",
  ]
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
  description = "Start, watch and cancel Dataflow jobs and Vertex AI custom jobs; see how nights ended."
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
    "workflows.executions.list",
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
