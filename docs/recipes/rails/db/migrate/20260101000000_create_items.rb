# create_table :items
