DROP TABLE removed_items;
DROP INDEX reservations_status;
