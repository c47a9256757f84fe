# BigLake tables: who may query them needs no access to the bucket, the connection's account reads it.

locals {
  base = "gs://${var.output.bucket}/${var.output.prefix}"
  # {run_date:DATE}/… : the types are said, not guessed.
  keys = join("/", [for level in var.partition : "{${level.key}:${level.type}}"])

  # A partition that no night writes.
  nothing      = { STRING = "none", INTEGER = "0", DATE = "1970-01-01", TIMESTAMP = "1970-01-01 00:00:00" }
  no_partition = join("/", [for level in var.partition : "${level.key}=${local.nothing[level.type]}"])

  # columns.json is made from the package's own schemas: python terraform/generate.py
  columns = jsondecode(file("${path.module}/columns.json"))
  schemas = {
    predictions = concat(
      local.columns.id,
      var.carried_columns,
      local.columns.scores,
      var.has_lists ? local.columns.lists : [],
      local.columns.origin,
    )
    rejects = local.columns.rejects
  }
  descriptions = {
    predictions = "What beam_bert predicted: one row a document."
    rejects     = "What beam_bert could not use: file, row, reason, message, raw bytes."
  }
}

resource "google_bigquery_dataset" "this" {
  #checkov:skip=CKV_GCP_81:set kms_key_name where policy asks for your own keys
  project       = var.project_id
  dataset_id    = var.dataset_id
  location      = var.location
  friendly_name = "beam_bert"
  description   = "Predictions of beam_bert, read from its Parquet files where they lie."
  labels        = var.labels

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

resource "google_bigquery_connection" "output" {
  project       = var.project_id
  location      = var.location
  connection_id = "${replace(var.dataset_id, "_", "-")}-output"
  friendly_name = "beam_bert output"
  description   = "Reads ${local.base}"
  kms_key_name  = var.kms_key_name

  cloud_resource {}
}

resource "google_storage_bucket_iam_member" "connection_reads_output" {
  bucket = var.output.bucket
  role   = "roles/storage.objectViewer"
  member = "serviceAccount:${google_bigquery_connection.output.cloud_resource[0].service_account_id}"
}

# BigQuery refuses a partitioned table over no files, which is what there is before the first night, and
# for rejects after each clean one. So a file without rows stands in a partition of its own; the jobs know
# its name (beam_bert/sinks/committed_files.py). Held, so that no clean-up by age takes it away.
resource "google_storage_bucket_object" "placeholders" {
  for_each = local.schemas

  bucket         = var.output.bucket
  name           = "${var.output.prefix}${each.key}/${local.no_partition}/placeholder.parquet"
  source         = "${path.module}/placeholder-${each.key}.parquet"
  content_type   = "application/octet-stream"
  temporary_hold = var.deletion_protection
}

resource "google_bigquery_table" "tables" {
  #checkov:skip=CKV_GCP_80:holds no data of its own; the bucket's key encrypts the files
  #checkov:skip=CKV_GCP_121:protected unless deletion_protection is set to false on purpose
  for_each = local.schemas

  project             = var.project_id
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  description         = local.descriptions[each.key]
  labels              = var.labels
  deletion_protection = var.deletion_protection
  schema              = jsonencode(each.value)

  # BigQuery adds the partition's keys to the schema; without this every plan would take them away.
  ignore_auto_generated_schema = true

  external_data_configuration {
    autodetect    = false
    source_format = "PARQUET"
    source_uris   = ["${local.base}${each.key}/*"]
    connection_id = google_bigquery_connection.output.name

    hive_partitioning_options {
      mode                     = "CUSTOM"
      source_uri_prefix        = "${local.base}${each.key}/${local.keys}"
      require_partition_filter = var.require_partition_filter
    }

    parquet_options {
      enable_list_inference = true
    }
  }

  depends_on = [
    google_storage_bucket_iam_member.connection_reads_output,
    google_storage_bucket_object.placeholders,
  ]
}
