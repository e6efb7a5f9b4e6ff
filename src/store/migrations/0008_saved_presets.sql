-- Presets saved in the app, and the version or commit that a job was rendered from.
CREATE TABLE presets (
    name       TEXT PRIMARY KEY,
    version    BIGINT NOT NULL,
    deleted_at TIMESTAMPTZ,
    change_no  BIGINT NOT NULL
);
CREATE UNIQUE INDEX presets_change ON presets (change_no);

CREATE TABLE preset_versions (
    name             TEXT NOT NULL REFERENCES presets (name),
    version          BIGINT NOT NULL,
    sha256           TEXT NOT NULL,
    source           TEXT NOT NULL,
    created_by       TEXT NOT NULL,
    created_by_email TEXT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (name, version)
);

ALTER TABLE jobs ADD COLUMN preset_version BIGINT;
ALTER TABLE jobs ADD COLUMN preset_commit TEXT;
