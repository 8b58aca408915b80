-- A database as the migrations of a Scalelite leave it, with one recording.
CREATE TABLE schema_migrations (version varchar NOT NULL PRIMARY KEY);
INSERT INTO schema_migrations VALUES ('20181123180008'), ('20210425184558'), ('20210630205630'), ('20210725200414'),
    ('20221111194252'), ('20230627141045');
CREATE TABLE ar_internal_metadata (key varchar NOT NULL PRIMARY KEY, value varchar, created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL);
INSERT INTO ar_internal_metadata VALUES ('environment', 'production', '2023-07-01', '2023-07-01');
CREATE TABLE recordings (id bigserial PRIMARY KEY, record_id varchar, meeting_id varchar, name varchar,
    published boolean DEFAULT false NOT NULL, participants integer, state varchar, starttime timestamp,
    endtime timestamp, deleted_at timestamp, protected boolean DEFAULT false NOT NULL,
    publish_updated boolean DEFAULT false NOT NULL);
CREATE UNIQUE INDEX index_recordings_on_record_id ON recordings (record_id);
CREATE INDEX index_recordings_on_meeting_id ON recordings (meeting_id);
CREATE TABLE metadata (id bigserial PRIMARY KEY, recording_id bigint, key varchar, value varchar);
CREATE UNIQUE INDEX index_metadata_on_recording_id_and_key ON metadata (recording_id, key);
CREATE TABLE playback_formats (id bigserial PRIMARY KEY, recording_id bigint, format varchar, url varchar,
    length integer, processing_time integer);
CREATE UNIQUE INDEX index_playback_formats_on_recording_id_and_format ON playback_formats (recording_id, format);
CREATE TABLE thumbnails (id bigserial PRIMARY KEY, playback_format_id bigint, width integer, height integer,
    alt varchar, url varchar, sequence integer);
CREATE INDEX index_thumbnails_on_playback_format_id ON thumbnails (playback_format_id);
CREATE TABLE callback_data (id bigserial PRIMARY KEY, meeting_id varchar, recording_id integer,
    callback_attributes text, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
INSERT INTO recordings (record_id, meeting_id, name, published, participants, state, starttime, endtime)
    VALUES ('old-1', 'lesson-0', 'Of old', true, 9, 'published', '2026-01-05 08:00', '2026-01-05 09:00');
INSERT INTO metadata (recording_id, key, value) VALUES (1, 'course', '7');
INSERT INTO playback_formats (recording_id, format, url, length)
    VALUES (1, 'presentation', '/playback/presentation/2.3/old-1', 60);
